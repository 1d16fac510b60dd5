//! Frames of HTTP/2: RFC 9113, 4 and 6.

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};

use crate::bench::Result;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Flags.
pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// Settings.
const ENABLE_PUSH: u16 = 0x2;
pub const INITIAL_WINDOW: u16 = 0x4;
pub const MAX_FRAME: u16 = 0x5;

const CANCEL: u32 = 0x8;

/// A frame's type; those that do not matter here have no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u8);

impl Kind {
    pub const DATA: Self = Self(0x0);
    pub const HEADERS: Self = Self(0x1);
    pub const RESET: Self = Self(0x3);
    pub const SETTINGS: Self = Self(0x4);
    pub const PING: Self = Self(0x6);
    pub const GOAWAY: Self = Self(0x7);
    pub const WINDOW_UPDATE: Self = Self(0x8);
}

/// What every frame begins with.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub length: usize,
    pub kind: Kind,
    pub stream: u32,
    flags: u8,
}

impl Head {
    pub const SIZE: usize = 9;

    /// The head of the frame that begins here, once all of it is there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.get(..Self::SIZE)?;
        let length = bytes.get_uint(3) as usize;
        let (kind, flags) = (Kind(bytes.get_u8()), bytes.get_u8());
        Some(Self { length, kind, stream: bytes.get_u32() & 0x7fff_ffff, flags })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of a DATA frame without what pads it.
    pub fn without_padding(&self, payload: Bytes) -> Result<Bytes> {
        if !self.has(PADDED) {
            return Ok(payload);
        }
        let padding = usize::from(*payload.first().context("a padded frame without its length")?);
        let end = payload.len().checked_sub(padding).filter(|end| *end >= 1);
        Ok(payload.slice(1..end.context("more padding than frame")?))
    }
}

/// Begins a frame; its length is set by [`end`].
pub fn begin(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0, 0, 0, kind.0, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    at
}

/// Ends the frame that began `at`.
pub fn end(out: &mut [u8], at: usize) {
    let length = (out.len() - at - Head::SIZE) as u32;
    out[at..at + 3].copy_from_slice(&length.to_be_bytes()[1..]);
}

/// Our settings: no pushes, and windows of this size.
pub fn settings(out: &mut Vec<u8>, window: u32) {
    let at = begin(out, Kind::SETTINGS, 0, 0);
    for (id, value) in [(ENABLE_PUSH, 0), (INITIAL_WINDOW, window)] {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    end(out, at);
}

pub fn settings_ack(out: &mut Vec<u8>) {
    begin(out, Kind::SETTINGS, ACK, 0);
}

pub fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    let at = begin(out, Kind::PING, ACK, 0);
    out.extend_from_slice(payload);
    end(out, at);
}

pub fn window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    let at = begin(out, Kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&more.to_be_bytes());
    end(out, at);
}

pub fn reset(out: &mut Vec<u8>, stream: u32) {
    let at = begin(out, Kind::RESET, 0, stream);
    out.extend_from_slice(&CANCEL.to_be_bytes());
    end(out, at);
}

/// As many DATA frames as `room` allows, the last of which ends the stream if it `ends`; how many
/// bytes of `bytes` are in them.
pub fn data(out: &mut Vec<u8>, stream: u32, bytes: &[u8], ends: bool, largest: usize, room: i64) -> usize {
    let sent = bytes.len().min(usize::try_from(room).unwrap_or(0));
    let mut rest = &bytes[..sent];
    let all = sent == bytes.len();
    loop {
        let (part, after) = rest.split_at(rest.len().min(largest));
        let last = all && after.is_empty();
        if !part.is_empty() || (last && ends) {
            let flags = if last && ends { END_STREAM } else { 0 };
            let at = begin(out, Kind::DATA, flags, stream);
            out.extend_from_slice(part);
            end(out, at);
        }
        if after.is_empty() {
            return sent;
        }
        rest = after;
    }
}
