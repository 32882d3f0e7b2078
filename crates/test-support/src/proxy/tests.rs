use std::io::ErrorKind;

use tokio::time::timeout;

use super::*;
use crate::TIMEOUT;

/// How long a stream is watched to conclude that it is silent.
const SILENCE: Duration = Duration::from_millis(100);

/// Returns a proxy to an echo server.
async fn echo() -> Proxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::to(address.to_string(), 1).await.expect("a port")
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.expect("a connection")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
}

async fn receive(stream: &mut TcpStream) -> io::Result<String> {
    let mut received = [0; 64];
    let read = timeout(TIMEOUT, stream.read(&mut received)).await.expect("in time")?;
    Ok(String::from_utf8_lossy(&received[..read]).into_owned())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read(&mut [0; 64])).await.is_err()
}

async fn echoes(stream: &mut TcpStream) -> bool {
    send(stream, "hello").await;
    receive(stream).await.is_ok_and(|received| received == "hello")
}

#[tokio::test]
async fn forwards_both_directions_and_the_end() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert!(echoes(&mut stream).await);
    stream.shutdown().await.expect("an end");
    assert_eq!(receive(&mut stream).await.expect("an end"), "");
}

#[tokio::test]
async fn large_data_arrives_intact() {
    let proxy = echo().await;
    proxy.delay(Duration::ZERO..Duration::from_millis(2));
    let (mut from, mut to) = connect(&proxy).await.into_split();
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3_000_000).collect();
    let bytes = sent.clone();
    tokio::spawn(async move {
        to.write_all(&bytes).await.expect("sent");
        to.shutdown().await.expect("an end");
    });
    let mut received = Vec::new();
    timeout(TIMEOUT, from.read_to_end(&mut received)).await.expect("in time").expect("an end");
    assert!(received == sent);
}

#[tokio::test]
async fn delay_applies_to_each_direction_until_healed() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.delay(Duration::from_millis(50)..Duration::from_millis(60));
    let began = Instant::now();
    assert!(echoes(&mut stream).await);
    assert!(began.elapsed() >= Duration::from_millis(100));
    proxy.heal();
    assert!(echoes(&mut stream).await);
}

#[tokio::test]
async fn cut_resets_only_open_connections() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert!(echoes(&mut stream).await);
    proxy.cut();
    let error = receive(&mut stream).await.expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(echoes(&mut connect(&proxy).await).await);
}

#[tokio::test]
async fn stalled_data_arrives_after_healing() {
    let proxy = echo().await;
    for direction in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        let mut open = connect(&proxy).await;
        assert!(echoes(&mut open).await);
        proxy.stall(direction);
        let mut new = connect(&proxy).await;
        for stream in [&mut open, &mut new] {
            send(stream, "later").await;
            assert!(is_silent(stream).await, "{direction:?}");
        }
        proxy.heal();
        for stream in [&mut open, &mut new] {
            assert_eq!(receive(stream).await.expect("it"), "later", "{direction:?}");
        }
    }
}

#[tokio::test]
async fn server_falls_silent_after_a_step_of_each_connection() {
    let proxy = echo().await;
    let mut open = connect(&proxy).await;
    for _ in 0..3 {
        assert!(echoes(&mut open).await);
    }
    proxy.silence_after(2);
    let mut new = connect(&proxy).await;
    for _ in 0..2 {
        assert!(echoes(&mut new).await);
    }
    assert!(timeout(SILENCE, proxy.until_silent()).await.is_err());
    for stream in [&mut new, &mut open] {
        send(stream, "later").await;
        proxy.until_silent().await;
        assert!(is_silent(stream).await);
    }
    proxy.heal();
    for stream in [&mut new, &mut open] {
        assert_eq!(receive(stream).await.expect("it"), "later");
        assert!(echoes(stream).await);
    }
    proxy.silence_after(0);
    send(&mut connect(&proxy).await, "hello?").await;
    proxy.until_silent().await;
}

#[tokio::test]
async fn lost_connection_stays_silent() {
    let proxy = echo().await;
    let mut lost = connect(&proxy).await;
    assert!(echoes(&mut lost).await);
    proxy.lose();
    send(&mut lost, "hello?").await;
    proxy.heal();
    assert!(echoes(&mut connect(&proxy).await).await);
    assert!(is_silent(&mut lost).await);
    proxy.cut();
    assert!(receive(&mut lost).await.is_err());
}

#[tokio::test]
async fn unreachable_server_resets_the_client() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let target = unused.local_addr().expect("bound").to_string();
    drop(unused);
    let proxy = Proxy::to(target, 1).await.expect("a port");
    assert!(receive(&mut connect(&proxy).await).await.is_err());
}

#[tokio::test]
async fn dropped_proxy_closes_its_connections() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert!(echoes(&mut stream).await);
    let address = proxy.address();
    drop(proxy);
    assert!(receive(&mut stream).await.is_err());
    let gone = async || TcpStream::connect(address).await.is_err().then_some(());
    crate::eventually("the port is closed", gone).await;
}
