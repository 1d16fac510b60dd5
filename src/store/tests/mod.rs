//! The store's tests.

mod backup;
mod contents;
mod crash;
mod damage;
mod directory;
mod faults;
mod former;
mod memory;
mod roundtrip;
mod rules;
mod sample;
