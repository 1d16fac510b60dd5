//! List: pages of what lives now.

use prost::Message as _;
use tonic::Status;

use crate::{
    call::Door,
    proto,
    types::{Filter, Instance},
};

use super::{
    Registry, convert,
    refuse::invalid,
    token::{PageToken, ResumeToken},
};

/// A gRPC answer is not larger: clients take 4 MiB unless told otherwise.
const MAX_GRPC_ANSWER: usize = 3 << 20;
/// No instance takes less on the wire: more than so many cannot fit, and are not tried.
const LEAST_INSTANCE: usize = 100;
/// So many instances are written in one go; then others may run.
const PORTION: usize = 50;

impl Registry {
    pub(super) async fn list_page(
        &self,
        request: proto::ListRequest,
        door: Door,
    ) -> Result<proto::ListResponse, Status> {
        let filter = convert::filter(&request.service, request.labels).map_err(invalid)?;
        let page = match request.page_token.as_str() {
            "" => None,
            text => Some(PageToken::decode(text).ok_or_else(|| bad_token("is not one of ours"))?),
        };
        let size = match request.page_size {
            0 => usize::MAX,
            size => size as usize,
        };
        let (count, resume, mut found) = {
            let catalog = self.engine.view().read();
            let resume =
                ResumeToken { epoch: catalog.epoch(), revision: catalog.revision(), filter: filter.digest() };
            let resume = match &page {
                None => resume,
                Some(page) if page.resume.epoch != resume.epoch => {
                    return Err(bad_token("is of a former run of the server; start from the first page"));
                }
                Some(page) if page.resume.filter != resume.filter => {
                    return Err(bad_token("is of another filter; start from the first page"));
                }
                Some(page) => page.resume,
            };
            let count = catalog.count(&filter);
            let most = size.saturating_add(1);
            let found: Vec<Instance> = match &page {
                None => catalog.matching(&filter).take(most).cloned().collect(),
                Some(page) => catalog.matching_after(&filter, &page.after).take(most).cloned().collect(),
            };
            (count, resume, found)
        };
        let more = found.len() > size;
        found.truncate(size);
        if door == Door::Grpc && found.len() > MAX_GRPC_ANSWER / LEAST_INSTANCE {
            return Err(too_large(found.len(), &filter));
        }
        let next_page_token = match found.last() {
            Some(last) if more => PageToken { resume, after: (last.service.clone(), last.id) }.encode(),
            _ => String::new(),
        };
        let mut services = Vec::with_capacity(found.len());
        for part in found.chunks(PORTION) {
            services.extend(convert::instances(&*self.engine, part));
            tokio::task::yield_now().await;
        }
        let answer = proto::ListResponse {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            services,
            next_page_token,
            resume_token: resume.encode(),
        };
        if door == Door::Grpc && answer.encoded_len() > MAX_GRPC_ANSWER {
            return Err(too_large(found.len(), &filter));
        }
        Ok(answer)
    }
}

fn bad_token(why: &str) -> Status {
    invalid(vec![convert::violation("page_token", why)])
}

fn too_large(count: usize, filter: &Filter) -> Status {
    let all = if *filter == Filter::default() { "all " } else { "" };
    Status::resource_exhausted(format!(
        "{all}{count} instances pass the 3 MiB of one answer; set page_size, to 500 for example, and go on \
         with next_page_token"
    ))
}
