//! Where a registry is kept when nobody says.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

/// `leasehold` in the platform's folder for state, such as `~/.local/state`; where the
/// platform has none, in the one for data. None for a user without a home directory.
pub fn default_dir() -> Option<PathBuf> {
    let base = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(base.state_dir().unwrap_or_else(|| base.data_dir()).join("leasehold"))
}
