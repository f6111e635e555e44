//! Credentials that are not valid, and requests from many addresses, for whom failures are counted.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::http::{Answer, Service, basic, exchange, request};
use super::within;

/// Asks a service without TLS from this address of the host, so that no failure elsewhere is counted with it.
pub(crate) fn ask_from(
    source: Ipv4Addr,
    service: &Service,
    method: &str,
    path: &str,
    header: &str,
) -> Answer {
    let stream = SocketType::STREAM;
    let socket = rustix::net::socket(AddressFamily::INET, stream, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    rustix::net::connect(&socket, &service.address).unwrap();
    let mut socket = TcpStream::from(socket);
    let patience = Some(Duration::from_secs(60));
    socket.set_read_timeout(patience).unwrap();
    exchange(&mut socket, &request(method, path, &[header], None))
}

/// Headers of credentials of `news` that were good once or never.
pub(crate) fn not_valid(service: &Service) -> [String; 7] {
    let tokens = "/v1/overlays/news/tokens";
    let root = [service.superuser.as_str()];
    let revoked = service.token("news", "{\"name\": \"revoked\"}");
    let path = format!("{tokens}/revoked");
    assert_eq!(service.ask("DELETE", &path, &root).status, 204);
    let rotated = service.token("news", "{\"name\": \"rotated\"}");
    let path = format!("{tokens}/rotated/rotate");
    let made = service.ask_with("POST", &path, &root, "{}");
    assert_eq!(made.status, 201, "{made:?}");
    let expired = service.token("news", "{\"name\": \"expired\", \"expires_in_s\": 1}");
    let is_over = || !service.get(tokens).body.contains("expired");
    assert!(within(Duration::from_secs(20), is_over));
    let unknown = format!("tt_{}", "A".repeat(43));
    [
        bearer(&unknown),
        bearer(&revoked),
        bearer(&rotated),
        bearer(&expired),
        format!("X-Session-Token: {expired}"),
        basic("superuser", "not the password"),
        basic("user", "not the password"),
    ]
}

/// The header of a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}
