//! Where the time of a run goes.

use std::sync::Arc;

use super::Graph;

/// Time that one op of a graph took in a profiled run.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTime {
    /// Index of the node in [`Graph::nodes`] of the graph that ran, [`Profile::graph`].
    pub node: usize,
    /// What computed it: a GPU kernel's name, or the form of the weight that the CPU multiplied by. An op of several kernels has
    /// several entries.
    pub kernel: String,
    /// Seconds, of all dispatches of this kernel for this node.
    pub seconds: f64,
}

/// Who told the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileClock {
    /// The device, by timestamps before and after each dispatch.
    Timestamps,
    /// The host's clock, read between ops that run one after another.
    Host,
}

impl ProfileClock {
    /// `timestamps` or `host clock`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamps => "timestamps",
            Self::Host => "host clock",
        }
    }
}

/// The times of one run, in the order in which the ops ran.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The graph whose nodes ran: the one that was prepared, unless the executor made another of it.
    pub graph: Arc<Graph>,
    /// Who told them.
    pub clock: ProfileClock,
    /// The ops; views and inputs take no time and are left out.
    pub ops: Vec<OpTime>,
}

/// What running plans has cost the host so far, apart from waiting for the device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostTime {
    /// Dispatches encoded and submitted.
    pub dispatches: u64,
    /// Submits that they were cut into.
    pub submits: u64,
    /// Seconds spent on it.
    pub seconds: f64,
    /// Bytes of weights brought to the device for plans.
    pub uploaded: u64,
    /// Seconds spent on reading, packing and sending them.
    pub upload_seconds: f64,
    /// Bytes of inputs sent to the device; what it has from the run before is not sent again.
    pub bytes_sent: u64,
    /// Bytes of results read back from the device.
    pub bytes_read: u64,
    /// Runs that took an input from vectors on the device and left their result there ([`super::DeviceVectors`]).
    pub fed_runs: u64,
    /// Runs that were begun before the results of the run before were read ([`super::Executor::run_then`]).
    pub begun_runs: u64,
    /// Runs that took up what was begun.
    pub taken_up: u64,
    /// Buffers, bind groups and pipelines that were made on the device, for whatever; running a plan again makes none.
    pub made: u64,
}
