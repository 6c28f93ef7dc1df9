//! Maximum flow through a network with real capacities (Dinic 1970): level by level of shortest paths, at most as many levels as there are
//! nodes, whatever the capacities.

/// Capacities and remainders up to it are none: far below what single precision says of a probability.
const NOTHING: f64 = 1e-12;

/// A node after all others.
const UNREACHED: u32 = u32::MAX;

/// A directed network. Arc `2e` is edge e, and arc `2e + 1` its way back.
#[derive(Debug)]
pub(crate) struct Network {
    /// Where each arc leads.
    heads: Vec<u32>,
    capacities: Vec<f64>,
    /// Arcs that leave node v: `arcs[starts[v]..starts[v + 1]]`.
    starts: Vec<usize>,
    arcs: Vec<u32>,
    remainders: Vec<f64>,
    /// Arcs between each node and the sink on a shortest way.
    levels: Vec<u32>,
    /// The arc of each node that is tried next.
    next: Vec<usize>,
    queue: Vec<u32>,
}

impl Network {
    /// A network of edges `(from, to, capacity)`.
    ///
    /// # Panics
    /// If an edge has an end that is no node.
    pub(crate) fn new(nodes: usize, edges: &[(usize, usize, f64)]) -> Self {
        let edges: Vec<_> = edges.iter().filter(|(_, _, capacity)| *capacity > NOTHING).collect();
        let (mut heads, mut capacities) = (Vec::new(), Vec::new());
        let mut starts = vec![0; nodes + 1];
        for &&(from, to, capacity) in &edges {
            heads.extend([to as u32, from as u32]);
            capacities.extend([capacity, 0.0]);
            starts[from + 1] += 1;
            starts[to + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut filled = starts.clone();
        let mut arcs = vec![0; heads.len()];
        for (edge, &&(from, to, _)) in edges.iter().enumerate() {
            for (node, arc) in [(from, 2 * edge), (to, 2 * edge + 1)] {
                arcs[filled[node]] = arc as u32;
                filled[node] += 1;
            }
        }
        let remainders = capacities.clone();
        Self {
            heads,
            capacities,
            starts,
            arcs,
            remainders,
            levels: vec![0; nodes],
            next: vec![0; nodes],
            queue: vec![],
        }
    }

    /// The greatest flow from one node to another.
    pub(crate) fn greatest(&mut self, source: usize, sink: usize) -> f64 {
        self.remainders.copy_from_slice(&self.capacities);
        // No more can flow than leaves the source or enters the sink.
        let out = |node: usize| self.leaving(node).map(|arc| self.capacities[arc]).sum::<f64>();
        let into = |node: usize| self.leaving(node).map(|arc| self.capacities[arc ^ 1]).sum::<f64>();
        let bound = out(source).min(into(sink));
        let mut flow = 0.0;
        while flow < bound - NOTHING && self.find_levels(source, sink) {
            flow += self.fill(source, sink);
        }
        flow.min(bound)
    }

    fn leaving(&self, node: usize) -> impl Iterator<Item = usize> {
        self.arcs[self.starts[node]..self.starts[node + 1]].iter().map(|&arc| arc as usize)
    }

    /// How far each node is from the sink, as far as the source is; whether the source is reached at all.
    fn find_levels(&mut self, source: usize, sink: usize) -> bool {
        self.levels.fill(UNREACHED);
        self.queue.clear();
        self.levels[sink] = 0;
        self.queue.push(sink as u32);
        let mut read = 0;
        while let Some(&node) = self.queue.get(read) {
            read += 1;
            let node = node as usize;
            for place in self.starts[node]..self.starts[node + 1] {
                let arc = self.arcs[place] as usize;
                let before = self.heads[arc] as usize;
                if self.levels[before] == UNREACHED && self.remainders[arc ^ 1] > NOTHING {
                    self.levels[before] = self.levels[node] + 1;
                    if before == source {
                        return true;
                    }
                    self.queue.push(before as u32);
                }
            }
        }
        false
    }

    /// Fills shortest paths until none is left; how much flows through them.
    fn fill(&mut self, source: usize, sink: usize) -> f64 {
        self.next.copy_from_slice(&self.starts[..self.levels.len()]);
        let mut path: Vec<usize> = Vec::new();
        let mut flow = 0.0;
        loop {
            let node = path.last().map_or(source, |&arc| self.heads[arc] as usize);
            if node == sink {
                let least = path.iter().fold(f64::INFINITY, |least, &arc| least.min(self.remainders[arc]));
                for &arc in &path {
                    self.remainders[arc] -= least;
                    self.remainders[arc ^ 1] += least;
                }
                flow += least;
                let full = path.iter().position(|&arc| self.remainders[arc] <= NOTHING);
                path.truncate(full.unwrap_or(0));
                continue;
            }
            match self.onward(node) {
                Some(arc) => path.push(arc),
                // A dead end: the arc that led here is done with.
                None => match path.pop() {
                    Some(arc) => self.next[self.heads[arc ^ 1] as usize] += 1,
                    None => return flow,
                },
            }
        }
    }

    /// The next arc from a node that leads nearer to the sink.
    fn onward(&mut self, node: usize) -> Option<usize> {
        let level = self.levels[node];
        while self.next[node] < self.starts[node + 1] {
            let arc = self.arcs[self.next[node]] as usize;
            let nearer = self.levels[self.heads[arc] as usize];
            if nearer != UNREACHED && nearer + 1 == level && self.remainders[arc] > NOTHING {
                return Some(arc);
            }
            self.next[node] += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least capacity of a set of edges without which nothing flows: as much as the greatest flow.
    fn least_cut(nodes: usize, edges: &[(usize, usize, f64)], source: usize, sink: usize) -> f64 {
        let sets = (0..1usize << nodes).filter(|set| set >> source & 1 == 1 && set >> sink & 1 == 0);
        let cut = |set: usize| -> f64 {
            edges.iter().filter(|(from, to, _)| set >> from & 1 == 1 && set >> to & 1 == 0).map(|edge| edge.2).sum()
        };
        sets.map(cut).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn a_path_carries_its_narrowest_edge() {
        let mut network = Network::new(4, &[(0, 1, 0.5), (1, 2, 0.25), (2, 3, 1.0)]);
        assert_eq!(network.greatest(0, 3), 0.25);
        assert_eq!(network.greatest(1, 3), 0.25);
        assert_eq!(network.greatest(3, 0), 0.0);
    }

    #[test]
    fn what_was_sent_the_wrong_way_comes_back() {
        // The first shortest path goes through the middle, and both longer ones need it taken back.
        let edges =
            [(0, 1, 1.0), (1, 4, 1.0), (4, 5, 1.0), (0, 2, 1.0), (2, 4, 1.0), (1, 3, 1.0), (3, 6, 1.0), (6, 5, 1.0)];
        assert_eq!(Network::new(7, &edges).greatest(0, 5), 2.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_greatest_flow_is_the_least_cut(
            edges in prop::collection::vec((0usize..8, 0usize..8, 0.0f64..1.0), 0..40),
        ) {
            let edges: Vec<_> = edges.into_iter().filter(|(from, to, _)| from != to).collect();
            let mut network = Network::new(8, &edges);
            for (source, sink) in [(0, 7), (3, 1), (7, 0)] {
                let expected = least_cut(8, &edges, source, sink);
                prop_assert!((network.greatest(source, sink) - expected).abs() < 1e-9);
            }
        }
    }
}
