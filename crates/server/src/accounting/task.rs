//! The task that saves the books now and then.

use std::sync::Arc;
use std::time::Duration;

use tickwire_metrics::{Catalogue, Metric};

use super::Accounting;
use crate::config::AccountingSettings;

/// What saves the books.
#[derive(Debug, Clone)]
pub(crate) struct Saving {
    accounting: Arc<Accounting>,
    pause: Duration,
    catalogue: Arc<Catalogue>,
}

impl Saving {
    /// Saves as often as `settings` say.
    pub(crate) fn new(
        accounting: Arc<Accounting>,
        settings: &AccountingSettings,
        catalogue: Arc<Catalogue>,
    ) -> Self {
        Self {
            accounting,
            pause: Duration::from_secs(settings.save_s),
            catalogue,
        }
    }

    /// Saves again and again, until the future is dropped.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(self.pause).await;
            let books = self.accounting.clone();
            // The disk may be slow, and operators are waited on by the same thread.
            match tokio::task::spawn_blocking(move || books.save()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.catalogue.add(Metric::AccountingFailures, &[], 1);
                    tracing::error!(%error, "the accounts were not saved; it is tried again");
                }
                Err(error) => tracing::error!(%error, "saving the accounts panicked; it is tried again"),
            }
        }
    }
}
