//! Calls to the admin socket of a house.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Answer, House, within};

/// Where a house with [`ADMIN`] has it, below its folder.
pub const SOCKET: &str = "state/admin.sock";
/// In gateway.toml.
pub const ADMIN: &str = "admin = { socket = \"state/admin.sock\" }";

/// What the socket answers to these bytes.
pub async fn exchange(house: &House, bytes: &[u8]) -> Vec<u8> {
    exchange_in(house.folder.path(), bytes).await
}

/// What the socket of the gateway in this folder answers.
pub async fn exchange_in(folder: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(folder.join(SOCKET)).await.unwrap();
    // A call that is refused early may not be read to its end.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = within("an answer", stream.read_to_end(&mut answer)).await;
    answer
}

/// The status of a call, and its JSON.
pub async fn call(house: &House, method: &str, path: &str, fields: &str, body: &str) -> (u16, Value) {
    call_in(house.folder.path(), method, path, fields, body).await
}

/// The same of the gateway in this folder.
pub async fn call_in(folder: &Path, method: &str, path: &str, fields: &str, body: &str) -> (u16, Value) {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: admin\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
    let answer = Answer::read(&exchange_in(folder, request.as_bytes()).await);
    assert_eq!(answer.one("content-type"), Some("application/json"));
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// The same with a JSON body.
pub async fn tell(house: &House, method: &str, path: &str, body: &Value) -> (u16, Value) {
    call(house, method, path, "Content-Type: application/json\r\n", &body.to_string()).await
}
