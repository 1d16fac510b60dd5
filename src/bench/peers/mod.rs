//! Other registries, where they are to be had.

pub mod etcd;
pub mod python;
