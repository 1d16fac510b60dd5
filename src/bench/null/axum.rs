//! axum with its defaults: a body is sent back as it came, or parsed and written again; a ping is
//! answered as long as a registry would.

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderName, header::CONTENT_TYPE},
    routing::{post, put},
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::Result;

const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// What leasehold answers to a ping, and as long.
const ALIVE: &str = r#"{"id":"01JD6V3Z5Q8X4N7M2K9T0B1C6F","status":"alive","last_ping_at":"2026-11-21T20:30:00.123456789Z","expires_at":"2026-11-21T20:30:30.123456789Z","ttl_seconds":30}"#;

/// Sends bodies back; answers pings.
pub async fn echo(listener: TcpListener) -> Result<()> {
    let register = post(|body: Bytes| async { (JSON, body) });
    let ping = put(|| async { (JSON, ALIVE) });
    let app = Router::new().route("/services/$register", register).route("/services/{id}/$ping", ping);
    axum::serve(listener, app).await.context("cannot serve")
}

/// Parses bodies, and writes them again.
pub async fn parse(listener: TcpListener) -> Result<()> {
    let register = post(|Json(body): Json<Value>| async { Json(body) });
    let app = Router::new().route("/services/$register", register);
    axum::serve(listener, app).await.context("cannot serve")
}
