//! The control plane as one running thing: what listens and what works in the background.

#[cfg(test)]
use crate::store::Store;
use crate::web::Audience;
use crate::{Context, ControlError, anomaly, collect, deliver, events, pulls, rum, totals, web};
use headwater_config::Policy;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;

/// Between two looks for what is old.
const FORGETTING: Duration = Duration::from_secs(3600);

/// A control plane that listens and does not work yet.
pub struct Service {
    context: Arc<Context>,
    listener: TcpListener,
    public: Option<TcpListener>,
}

impl Service {
    /// Opens the store and listens.
    ///
    /// # Errors
    /// Where one of them cannot be had.
    pub fn open(policy: Policy) -> Result<Self, ControlError> {
        let context = Context::open(policy)?;
        let listener = web::listen(context.policy.control.listen)?;
        let public = context.policy.control.public.map(web::listen).transpose()?;
        Ok(Self { context: Arc::new(context), listener, public })
    }

    /// Where it listens: for operators, and for strangers.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, Option<SocketAddr>)> {
        let public = self.public.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok((self.listener.local_addr()?, public))
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> Store {
        self.context.store.clone()
    }

    /// Works until `end`. What was not written by then is asked for again at the next start.
    ///
    /// # Errors
    /// Where the listener cannot be shared.
    pub async fn run(self, end: impl Future<Output = ()>) -> std::io::Result<()> {
        let Self { context, listener, public } = self;
        let mut parts = JoinSet::new();
        parts.spawn(web::serve(context.clone(), listener, Audience::Operators));
        if let Some(public) = public {
            parts.spawn(web::serve(context.clone(), public, Audience::Strangers));
        }
        parts.spawn(forget(context.clone()));
        parts.spawn(collect::run(context.clone()));
        parts.spawn(anomaly::run::run(context.clone()));
        parts.spawn(events::watch::run(context.clone()));
        parts.spawn(events::grafana::run(context.clone()));
        parts.spawn(rum::keep(context.clone()));
        parts.spawn(web::keep_watch(context.clone()));
        match context.policy.control.prometheus.clone() {
            Some(server) => parts.spawn(pulls::follow(context.clone(), server)),
            None => parts.spawn(pulls::watch(context.clone())),
        };
        parts.spawn(totals::keep(context.clone()));
        if let Some(sink) = context.policy.metrics.graphite.clone() {
            parts.spawn(deliver::graphite::deliver(context.clone(), sink));
        }
        if let Some(url) = context.policy.control.remote_write.clone() {
            parts.spawn(deliver::remote_write::deliver(context.clone(), url));
        }
        end.await;
        parts.shutdown().await;
        // Nobody asks browsers again.
        if let Err(error) = rum::write(&context).await {
            tracing::error!(%error, "users' timings of the last seconds are lost");
        }
        Ok(())
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

async fn forget(context: Arc<Context>) {
    let mut hour = tokio::time::interval(FORGETTING);
    loop {
        hour.tick().await;
        match context.store.forget(now()).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "forgot what is older than what is kept"),
            Err(error) => tracing::error!(%error, "cannot forget what is old"),
        }
    }
}
