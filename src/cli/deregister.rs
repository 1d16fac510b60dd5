//! `leasehold deregister`: one registration ends.

use clap::Args;

use super::{
    Failure,
    output::{self, Output},
    remote::{self, Target, call},
};
use crate::proto::DeregisterRequest;

/// End one registration
///
/// Its lease token, where the server asks for one, is read from `LEASEHOLD_LEASE_TOKEN`.
#[derive(Args, Debug)]
pub struct Deregister {
    /// Its id, or a service name that only one replica bears
    #[arg(value_name = "ID|NAME")]
    id: String,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    target: Target,
}

impl Deregister {
    /// Prints what was ended.
    pub async fn run(self) -> Result<(), Failure> {
        let lease_token = remote::lease_token()?;
        let mut remote = self.target.connect().await?;
        let request = call(DeregisterRequest { id: self.id, lease_token });
        let answer = remote.registry.deregister(request).await;
        let answer = answer.map_err(|status| remote.failure(&status))?.into_inner();
        if self.output.is_json() {
            return output::line(&output::json("DeregisterResponse", &answer)?);
        }
        let gone = answer.service.unwrap_or_default();
        output::line(&output::plain(&format!("deregistered {} ({} at {})", gone.id, gone.service, gone.url)))
    }
}
