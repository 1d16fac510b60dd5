//! `leasehold ls`: what lives, read page by page.

use std::time::SystemTime;

use clap::Args;
use tonic::Code;

use super::{
    Failure, Filter,
    output::{self, Output},
    remote::{Remote, Target, call},
    when,
};
use crate::proto::{Instance, ListRequest, ListResponse};

/// A page of ordinary instances is far below the server's limit on one message. Instances may
/// be large, though: a page that is refused for its size is asked for in smaller ones.
const PAGE_SIZE: u32 = 500;

/// List what lives
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    target: Target,
}

impl Ls {
    /// Prints the table, or the one object that the HTTP path answers without paging.
    pub async fn run(self) -> Result<(), Failure> {
        let remote = self.target.connect().await?;
        let list = read_all(&remote, self.filter).await?;
        if self.output.is_json() {
            output::line(&output::json("ListResponse", &list)?)
        } else {
            output::line(&table(&list.services, SystemTime::now()))
        }
    }
}

async fn read_all(remote: &Remote, filter: Filter) -> Result<ListResponse, Failure> {
    let mut request = ListRequest {
        service: filter.service,
        labels: filter.labels.into_iter().collect(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut registry = remote.registry.clone();
    let mut list = ListResponse::default();
    loop {
        let page = match registry.list(call(request.clone())).await {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == Code::ResourceExhausted && request.page_size > 1 => {
                request.page_size /= 4;
                request.page_size = request.page_size.max(1);
                continue;
            }
            Err(status) => return Err(remote.failure(&status)),
        };
        list.services.extend(page.services);
        list.resume_token = page.resume_token;
        if page.next_page_token.is_empty() {
            break;
        }
        if page.next_page_token == request.page_token {
            return Err(Failure::other("the server answered the same page token twice"));
        }
        request.page_token = page.next_page_token;
    }
    list.count = u32::try_from(list.services.len()).unwrap_or(u32::MAX);
    Ok(list)
}

fn table(instances: &[Instance], now: SystemTime) -> String {
    let mut table = output::table(&["SERVICE", "URL", "ID", "STATUS", "ZONE", "LABELS", "AGE", "EXPIRES"]);
    for instance in instances {
        table.add_row([
            output::plain(&instance.service),
            output::plain(&instance.url),
            output::plain(&instance.id),
            output::plain(&instance.status),
            if instance.zone.is_empty() { "-".to_owned() } else { output::plain(&instance.zone) },
            output::labels(&instance.labels),
            when::age(instance.registered_at.as_ref(), now),
            when::due(instance.expires_at.as_ref(), now),
        ]);
    }
    output::render(table)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn one_line_per_instance() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let instance = Instance {
            id: "01JABC".to_owned(),
            service: "orders".to_owned(),
            url: "http://10.0.0.1:80".to_owned(),
            status: "alive".to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            registered_at: Some(Timestamp { seconds: 88, nanos: 0 }),
            expires_at: Some(Timestamp { seconds: 118, nanos: 0 }),
            ..Default::default()
        };
        let text = table(&[instance], now);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["SERVICE", "URL", "ID", "STATUS", "ZONE", "LABELS", "AGE", "EXPIRES"]);
        assert_eq!(
            lines[1],
            ["orders", "http://10.0.0.1:80", "01JABC", "alive", "-", "a=b", "12s", "in", "18s"]
        );
        assert_eq!(lines.len(), 2);
    }
}
