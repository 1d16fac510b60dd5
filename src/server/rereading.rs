//! Files that are read again while the server runs: keys and certificates when they change, and all,
//! the audit file with them, when that is asked for.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{audit::Audit, auth::Keys, metrics::Metrics, reload::Asking, tls::Tls};

/// Reads files again as long as it lives.
pub(super) struct Rereading(Vec<JoinHandle<()>>);

impl Rereading {
    /// Begins; the keys are read once more at once, for they may have changed since they were read.
    pub(super) fn start(
        asking: &Asking,
        keys: &Arc<Keys>,
        tls: Option<&Arc<Tls>>,
        audit: &Audit,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let audit = audit.clone();
        let mut tasks = vec![asking.watch(Vec::new(), move || audit.reopen())];
        if keys.are_used() {
            let (read, metrics) = (Arc::clone(keys), Arc::clone(metrics));
            let reread = move || {
                read.reload();
                metrics.keys.set(i64::try_from(read.count()).unwrap_or(i64::MAX));
            };
            tasks.push(asking.watch(keys.files(), reread.clone()));
            reread();
        }
        if let Some(tls) = tls {
            let (read, metrics) = (Arc::clone(tls), Arc::clone(metrics));
            metrics.certificate_expires(tls.expires_at());
            tasks.push(asking.watch(tls.files(), move || {
                read.reload();
                metrics.certificate_expires(read.expires_at());
            }));
        }
        Self(tasks)
    }
}

impl Drop for Rereading {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
