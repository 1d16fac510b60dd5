//! The Docker registrar: what runs on a Docker engine, kept in a registry.
//!
//! Facts (what the engine says, [`facts`]) → documents (pure, [`document`]) → calls of a backend
//! ([`backend`]), which knows best what it has already; [`plan`] is that comparison where entries are the
//! documents themselves. [`Settings`] says how; [`agent`] runs it.

pub mod agent;
pub mod backend;
pub mod docker;
pub mod document;
pub mod facts;
pub mod known;
pub mod plan;
pub mod settings;
pub mod statsd;

pub use settings::Settings;
