use super::*;

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn server_starts_restarts_and_cleans_up() {
    let server = Server::start(Options::default()).await.expect("a server");
    let (one, other) = (server.host().await.expect("one"), server.host().await.expect("another"));
    assert_ne!(one.expose(), other.expose());
    assert!(server.ctl(&["list_vhosts"]).await.expect("a list").contains("test1"));
    assert!(server.ctl(&["nonsense"]).await.is_err());

    server.stop().await.expect("its end");
    server.resume().await.expect("its return");
    assert!(server.ctl(&["list_vhosts"]).await.expect("a list").contains("test1"));

    let (port, directory) = (server.port(), server.directory().to_owned());
    drop(server);
    assert!(!directory.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
