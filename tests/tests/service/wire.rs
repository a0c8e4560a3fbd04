//! Bytes on a connection, for clients that do not behave.

use auth_tests::{PASSWORD, email_of, process::Service};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.authority()).await.unwrap()
}

/// A connection on which this was sent.
pub(crate) async fn send(service: &Service, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = connect(service).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    stream
}

/// All that comes until the service closes the connection.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The whole request to register somebody.
pub(crate) fn registration(name: &str) -> String {
    let body = json!({"username": name, "email": email_of(name), "password": PASSWORD});
    request("POST", "/auth/register", &body.to_string())
}
