//! `leasehold get`: one instance, in full.

use std::time::SystemTime;

use clap::Args;

use super::{
    Failure,
    output::{self, Output},
    remote::{Target, call},
    when,
};
use crate::proto::{GetRequest, Instance};

/// Show one instance
#[derive(Args, Debug)]
pub struct Get {
    /// Its id, or a service name: the newest of that service
    #[arg(value_name = "ID|NAME")]
    id: String,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    target: Target,
}

impl Get {
    /// Prints it, or fails with "not found".
    pub async fn run(self) -> Result<(), Failure> {
        let mut remote = self.target.connect().await?;
        let answer = remote.registry.get(call(GetRequest { id: self.id })).await;
        let instance = answer.map_err(|status| remote.failure(&status))?.into_inner();
        if self.output.is_json() {
            output::line(&output::json("Instance", &instance)?)
        } else {
            output::line(&table(&instance, SystemTime::now())?)
        }
    }
}

fn table(instance: &Instance, now: SystemTime) -> Result<String, Failure> {
    let info = output::json("google.protobuf.Struct", &instance.info.clone().unwrap_or_default())?;
    let moment = |time: &Option<prost_types::Timestamp>| {
        format!("{} ({} ago)", when::moment(time.as_ref()), when::age(time.as_ref(), now))
    };
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { output::plain(text) };
    let mut table = output::table(&[]);
    table.add_rows([
        ["id".to_owned(), output::plain(&instance.id)],
        ["service".to_owned(), output::plain(&instance.service)],
        ["url".to_owned(), output::plain(&instance.url)],
        ["status".to_owned(), output::plain(&instance.status)],
        ["zone".to_owned(), or_none(&instance.zone)],
        [
            "weight".to_owned(),
            if instance.weight == 0 { "-".to_owned() } else { instance.weight.to_string() },
        ],
        ["labels".to_owned(), output::labels(&instance.labels)],
        ["info".to_owned(), output::plain(&info)],
        ["registered".to_owned(), moment(&instance.registered_at)],
        ["updated".to_owned(), moment(&instance.last_updated)],
        ["last ping".to_owned(), moment(&instance.last_ping_at)],
        ["expires".to_owned(), when::due(instance.expires_at.as_ref(), now)],
        ["ttl".to_owned(), format!("{}s", instance.ttl_seconds)],
        ["revision".to_owned(), instance.revision.to_string()],
    ]);
    Ok(output::render(table))
}
