//! All short scenarios over a few clusters. Most bugs need few requests, in the right order: here all orders
//! come.

use crate::scenario::{Config, Fill, Request, Scenario};
use crate::space::Space;

/// All sequences of 1 to `length` requests out of the [`alphabet`] for `units` units of allocation. The disk
/// has that many: `config`'s size stays if it does (a partial last one, too), else it is set.
pub fn exhaustive(space: &Space, units: u64, length: u32, config: Config) -> Exhaustive {
    let mut config = config;
    let unit_bytes = space.geometry(&config).unit_bytes;
    if config.size_bytes.div_ceil(unit_bytes) != units {
        config.size_bytes = units * unit_bytes;
    }
    Exhaustive::new(alphabet(space, &config), length, config)
}

/// What can be done to each unit of a disk: a full write, its head, its tail, its middle, zeroes without and
/// with unmap, a discard, a compressed write; and one read of the whole disk.
pub fn alphabet(space: &Space, config: &Config) -> Vec<Request> {
    let cluster = space.geometry(config).unit_bytes;
    let mut requests = Vec::new();
    for offset in (0..config.size_bytes).step_by(cluster as usize) {
        let length = cluster.min(config.size_bytes - offset);
        requests.extend(of_cluster(offset, length));
    }
    requests.push(Request::Read { offset: 0, length: config.size_bytes });
    requests
}

/// A quarter is what heads and tails take: clusters of 512 bytes have those as well.
fn of_cluster(offset: u64, length: u64) -> [Request; 8] {
    let part = (length / 4).max(1);
    let write = |offset, length| Request::Write { offset, length, fill: Fill::Stamp, fua: false };
    let zero = |unmap| Request::WriteZeroes { offset, length, unmap, no_fallback: false, fua: false };
    [
        write(offset, length),
        write(offset, part),
        write(offset + length - part, part),
        write(offset + part.min(length - 1), (length / 2).max(1)),
        zero(false),
        zero(true),
        Request::Discard { offset, length },
        Request::WriteCompressed { offset, length, fill: Fill::Stamp },
    ]
}

/// All sequences of 1 to a given number of requests out of an alphabet; the shorter ones first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhaustive {
    alphabet: Vec<Request>,
    config: Config,
    /// Which requests come next; empty when all have come.
    indices: Vec<usize>,
    length: usize,
}

impl Exhaustive {
    /// All sequences of 1 to `length` requests out of `alphabet`, on a disk of `config`.
    ///
    /// # Panics
    /// If `length` or the alphabet's is 0.
    pub fn new(alphabet: Vec<Request>, length: u32, config: Config) -> Self {
        assert!(length > 0 && !alphabet.is_empty(), "no sequences of no requests");
        Self { alphabet, config, indices: vec![0], length: length as usize }
    }

    /// How many scenarios there are in all: the sum of n^1 to n^length.
    pub fn total(&self) -> u64 {
        let symbols = self.alphabet.len() as u64;
        (1..=self.length as u32).map(|length| symbols.pow(length)).sum()
    }

    /// Makes the next scenario in place of `scenario`, whose memory is used again; false when all have come.
    pub fn next_into(&mut self, scenario: &mut Scenario) -> bool {
        if self.indices.is_empty() {
            return false;
        }
        scenario.config.clone_from(&self.config);
        scenario.requests.clear();
        scenario.requests.extend(self.indices.iter().map(|&index| self.alphabet[index]));
        self.advance();
        true
    }

    /// Counts on, the last place fastest; then begins with one request more.
    fn advance(&mut self) {
        for index in self.indices.iter_mut().rev() {
            *index += 1;
            if *index < self.alphabet.len() {
                return;
            }
            *index = 0;
        }
        self.indices.push(0);
        if self.indices.len() > self.length {
            self.indices.clear();
        }
    }
}

impl Iterator for Exhaustive {
    type Item = Scenario;

    fn next(&mut self) -> Option<Scenario> {
        let mut scenario = Scenario::default();
        self.next_into(&mut scenario).then_some(scenario)
    }
}
