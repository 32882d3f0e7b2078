use sqlx::{Connection as _, Row as _};

use super::*;

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn server_keeps_commits_in_a_crash_and_removes_its_files() {
    let server = Server::alone(&[]).await;
    let url = server.database().await.expect("a database");
    let mut connection = PgConnection::connect(url.expose()).await.expect("a connection");
    connection.execute("CREATE TABLE kept AS SELECT 7 AS number").await.expect("a table");
    server.restart().await.expect("a restart");
    assert!(connection.execute("SELECT 1").await.is_err(), "the connection survived a crash");

    let mut connection = PgConnection::connect(url.expose()).await.expect("a connection");
    let row = connection.fetch_one("SELECT number FROM kept").await.expect("a row");
    assert_eq!(row.get::<i32, _>(0), 7);

    let directory = server.directory().to_owned();
    drop(server);
    assert!(!directory.exists());
    assert!(PgConnection::connect(url.expose()).await.is_err());
}
