//! List: pages of what lives now.

use std::{sync::Arc, time::Duration};

use tonic::{Response, Status};

use crate::{
    call::{Caller, Door},
    proto::{self, wire},
    types::{Filter, Instance, Moment},
    wire::Encoder,
};

use super::{
    Registry, convert, encode,
    refuse::{exhausted, invalid},
    token::{PageToken, ResumeToken},
};

/// A gRPC answer is not larger: clients take 4 MiB unless told otherwise.
const MAX_GRPC_ANSWER: usize = 3 << 20;
/// No instance takes less on the wire: more than so many cannot fit, and are not tried.
const LEAST_INSTANCE: usize = 100;
/// So many instances are written in one go; then others may run.
const PORTION: usize = 256;

impl Registry {
    pub(super) async fn list_page(
        &self,
        request: proto::ListRequest,
        caller: &Caller,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let door = caller.door;
        let filter = convert::filter(&request.service, request.labels).map_err(invalid)?;
        let filter = self.check_filter(caller, filter)?;
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
        let anchor = self.engine.wall(Moment(0));
        let size = found.iter().map(Instance::event_bytes).sum();
        let held = caller.connection.hold(size);
        let held = held.map_err(|too_much| exhausted(too_much.to_string(), Duration::from_secs(1)))?;
        let mut answer = Encoder::with_capacity(size);
        encode::number(&mut answer, 1, u64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        for part in found.chunks(PORTION) {
            for (one, times) in part.iter().zip(convert::times(&*self.engine, part)) {
                let place = answer.open(2);
                encode::instance(&mut answer, one, times, anchor);
                answer.close(place);
            }
            tokio::task::yield_now().await;
        }
        encode::text(&mut answer, 3, &next_page_token);
        encode::text(&mut answer, 4, &resume.encode());
        let answer = wire::ListResponse(answer.finish().into());
        if door == Door::Grpc && answer.0.len() > MAX_GRPC_ANSWER {
            return Err(too_large(found.len(), &filter));
        }
        let mut answer = Response::new(answer);
        // Until the connection has sent it.
        answer.extensions_mut().insert(Arc::new(held));
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
