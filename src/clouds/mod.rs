//! One folder a cloud; each may offer a link (device plane) and a provider (management plane). A cloud's name appears
//! nowhere else but in the configuration and in the factory that builds it.

pub mod golioth;
pub(crate) mod https;
pub mod mqtt;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::daemon::rim::Rim;
use crate::spend::Purse;

/// What the daemon gives every link.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// The outside.
    pub rim: &'a Rim,
    /// Where it says how it does.
    pub board: &'a Arc<Board>,
    /// Where it charges what it sends and receives.
    pub purse: &'a Arc<Purse>,
    /// Ends it.
    pub stop: &'a CancellationToken,
}
