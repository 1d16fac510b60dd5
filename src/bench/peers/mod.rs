//! Other registries, where they are to be had.
