use std::io::ErrorKind;

use tokio::time::timeout;

use super::*;
use crate::PATIENCE;

/// After so long nothing will come, where nothing should.
const SILENCE: Duration = Duration::from_millis(100);

/// A server that says everything back, and the way to it.
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

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
}

async fn hear(stream: &mut TcpStream) -> io::Result<String> {
    let mut heard = [0; 64];
    let read = timeout(PATIENCE, stream.read(&mut heard)).await.expect("in time")?;
    Ok(String::from_utf8_lossy(&heard[..read]).into_owned())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read(&mut [0; 64])).await.is_err()
}

async fn echoes(stream: &mut TcpStream) -> bool {
    say(stream, "hello").await;
    hear(stream).await.is_ok_and(|heard| heard == "hello")
}

#[tokio::test]
async fn it_carries_both_ways_and_ends_with_either_side() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert!(echoes(&mut stream).await);
    stream.shutdown().await.expect("an end");
    assert_eq!(hear(&mut stream).await.expect("an end"), "");
}

#[tokio::test]
async fn large_things_arrive_whole() {
    let proxy = echo().await;
    proxy.delay(Duration::ZERO..Duration::from_millis(2));
    let (mut from, mut to) = connect(&proxy).await.into_split();
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3_000_000).collect();
    let bytes = sent.clone();
    tokio::spawn(async move {
        to.write_all(&bytes).await.expect("sent");
        to.shutdown().await.expect("an end");
    });
    let mut heard = Vec::new();
    timeout(PATIENCE, from.read_to_end(&mut heard)).await.expect("in time").expect("an end");
    assert!(heard == sent);
}

#[tokio::test]
async fn a_delay_counts_each_way_until_it_is_healed() {
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
async fn a_cut_resets_what_is_open_and_nothing_else() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert!(echoes(&mut stream).await);
    proxy.cut();
    let error = hear(&mut stream).await.expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(echoes(&mut connect(&proxy).await).await);
}

#[tokio::test]
async fn what_is_sent_during_a_stall_arrives_after_it() {
    let proxy = echo().await;
    for direction in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        let mut open = connect(&proxy).await;
        assert!(echoes(&mut open).await);
        proxy.stall(direction);
        let mut new = connect(&proxy).await;
        for stream in [&mut open, &mut new] {
            say(stream, "later").await;
            assert!(is_silent(stream).await, "{direction:?}");
        }
        proxy.heal();
        for stream in [&mut open, &mut new] {
            assert_eq!(hear(stream).await.expect("it"), "later", "{direction:?}");
        }
    }
}

#[tokio::test]
async fn a_lost_connection_says_nothing_more() {
    let proxy = echo().await;
    let mut lost = connect(&proxy).await;
    assert!(echoes(&mut lost).await);
    proxy.lose();
    say(&mut lost, "hello?").await;
    proxy.heal();
    assert!(echoes(&mut connect(&proxy).await).await);
    assert!(is_silent(&mut lost).await);
    proxy.cut();
    assert!(hear(&mut lost).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_away_is_told_by_a_reset() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let target = unused.local_addr().expect("bound").to_string();
    drop(unused);
    let proxy = Proxy::to(target, 1).await.expect("a port");
    assert!(hear(&mut connect(&proxy).await).await.is_err());
}

#[tokio::test]
async fn it_closes_what_it_carries_when_it_goes() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert!(echoes(&mut stream).await);
    let address = proxy.address();
    drop(proxy);
    assert!(hear(&mut stream).await.is_err());
    let gone = async || TcpStream::connect(address).await.is_err().then_some(());
    crate::eventually("it listens no more", gone).await;
}
