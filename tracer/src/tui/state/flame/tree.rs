//! Call stacks merged by the names of their frames, from the outermost one on.
//!
//! A site's stack hardly ever changes, its numbers do: the tree stays from Snapshot to Snapshot, a site knows the node at which
//! it ends, and new numbers are one pass over the sites and one over the nodes. Nodes are never moved, so that a selection holds.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tracer_common::{event::SiteKind, stack::StackEnd};

use crate::{
    aggregate::{SiteId, SiteMap, SiteSnapshot, Snapshot},
    report::{
        basename,
        export::{frame_name, process_of},
        library_runs,
        untrusted::displayable,
    },
    symbolize::{Frame, Stack},
};

/// A place in a tree. The root is 0; a parent's number is smaller than those of its children.
pub(in crate::tui) type NodeId = u32;

pub(super) const ROOT: NodeId = 0;

/// A frame, in all stacks that come to it the same way.
#[derive(Debug)]
struct Node {
    parent: NodeId,
    name: u32,
    depth: u32,
    children: Vec<NodeId>,
    /// Of all stacks through it.
    value: u64,
}

/// Where a site's stack ends in the tree.
#[derive(Debug)]
struct Leaf {
    node: NodeId,
    stack: Arc<Stack>,
    value: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    edges: HashMap<(NodeId, u32), NodeId>,
    leaves: SiteMap<Leaf>,
    /// Sites that got another stack: their former nodes may be nobody's.
    moved: usize,
    /// Frames of libraries and runtimes have a place each.
    whole: bool,
}

/// Whose frames a run is of: the namespace of the first that has one, from the outermost on, or else the module. Neither says
/// by which way, so that runs which differ in that are one.
fn library(run: &[Frame]) -> String {
    let namespace = |frame: &Frame| {
        let (namespace, _) = frame.function.as_deref().ok()?.split_once("::")?;
        let namespace = namespace.trim_start_matches('<');
        let is_name = namespace.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_name && !namespace.is_empty()).then(|| namespace.to_owned())
    };
    let module =
        || run.iter().rev().find_map(|frame| frame.module.as_deref()).map(|module| basename(module).to_owned());
    run.iter().rev().find_map(namespace).or_else(module).unwrap_or_else(|| "library".to_owned())
}

impl Tree {
    /// Takes the numbers of a Snapshot: `value` measures a site. `whole`: runs of library frames are not folded.
    pub(super) fn update(&mut self, snapshot: &Snapshot, whole: bool, value: impl Fn(&SiteSnapshot) -> u64) {
        // Names come one by one, and each leaves the address that it stands for behind.
        if self.nodes.is_empty() || self.whole != whole || self.moved > self.leaves.len() + 1_000 {
            *self = Self { whole, ..Self::default() };
            let name = self.number("all");
            self.nodes.push(Node { parent: ROOT, name, depth: 0, children: Vec::new(), value: 0 });
        }
        self.nodes.iter_mut().for_each(|node| node.value = 0);
        self.leaves.values_mut().for_each(|leaf| leaf.value = 0);
        for site in snapshot.own_memory() {
            let value = value(site);
            // What holds nothing takes no place.
            if value > 0 {
                let node = self.leaf(snapshot, site, value);
                self.nodes[node as usize].value += value;
            }
        }
        for index in (1..self.nodes.len()).rev() {
            let Node { parent, value, .. } = self.nodes[index];
            self.nodes[parent as usize].value += value;
        }
    }

    fn leaf(&mut self, snapshot: &Snapshot, site: &SiteSnapshot, value: u64) -> NodeId {
        if let Some(leaf) = self.leaves.get_mut(&site.id) {
            if Arc::ptr_eq(&leaf.stack, &site.stack) {
                leaf.value = value;
                return leaf.node;
            }
            self.moved += 1;
        }
        let node = self.insert(snapshot, site);
        self.leaves.insert(site.id, Leaf { node, stack: Arc::clone(&site.stack), value });
        node
    }

    /// The process where there are several, the kind of memory where it is not the heap, what is missing of the stack, and
    /// the frames: as in folded stacks.
    fn insert(&mut self, snapshot: &Snapshot, site: &SiteSnapshot) -> NodeId {
        let mut node = ROOT;
        if snapshot.processes.len() > 1 {
            node = self.child(node, &process_of(snapshot, site));
        }
        if site.kind != SiteKind::Heap && !site.kind.is_faulted() {
            node = self.child(node, &format!("[{}]", site.kind.name()));
        }
        if site.stack.end != StackEnd::Complete {
            node = self.child(node, &format!("[incomplete: {}]", site.stack.end.name()));
        }
        let frames = &site.stack.frames;
        let mut runs = if self.whole { Vec::new() } else { library_runs(&site.stack) };
        let mut end = frames.len();
        while end > 0 {
            let run = runs.pop_if(|run| run.end == end);
            node = match &run {
                Some(run) => self.child(node, &format!("… {}", displayable(&library(&frames[run.clone()])))),
                None => self.child(node, &frame_name(&frames[end - 1])),
            };
            end = run.map_or(end - 1, |run| run.start);
        }
        if node == ROOT { self.child(ROOT, "[no stack]") } else { node }
    }

    fn child(&mut self, parent: NodeId, name: &str) -> NodeId {
        let name = self.number(name);
        let next = self.nodes.len() as NodeId;
        let child = *self.edges.entry((parent, name)).or_insert(next);
        if child == next {
            let depth = self.nodes[parent as usize].depth + 1;
            self.nodes.push(Node { parent, name, depth, children: Vec::new(), value: 0 });
            self.nodes[parent as usize].children.push(child);
        }
        child
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let (name, number) = (Arc::<str>::from(name), self.names.len() as u32);
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    pub(super) fn value(&self, id: NodeId) -> u64 {
        self.node(id).map_or(0, |node| node.value)
    }

    pub(super) fn name(&self, id: NodeId) -> &str {
        self.node(id).map_or("", |node| &self.names[node.name as usize])
    }

    pub(super) fn depth(&self, id: NodeId) -> u32 {
        self.node(id).map_or(0, |node| node.depth)
    }

    /// The root's is the root.
    pub(super) fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(ROOT, |node| node.parent)
    }

    pub(super) fn children(&self, id: NodeId) -> &[NodeId] {
        self.node(id).map_or(&[], |node| &node.children)
    }

    /// The frame furthest in through which at least half of everything comes.
    pub(super) fn majority(&self) -> NodeId {
        let half = self.value(ROOT).div_ceil(2).max(1);
        let mut node = ROOT;
        while let Some(child) = self.children(node).iter().find(|child| self.value(**child) >= half) {
            node = *child;
        }
        node
    }

    /// Names from the one below the root to this one.
    pub(super) fn path(&self, id: NodeId) -> Vec<Arc<str>> {
        let mut path = Vec::new();
        let mut node = id;
        while node != ROOT
            && let Some(found) = self.node(node)
        {
            path.push(Arc::clone(&self.names[found.name as usize]));
            node = found.parent;
        }
        path.reverse();
        path
    }

    /// The node at the end of a path, or as far as there is one.
    pub(super) fn find(&self, path: &[Arc<str>]) -> NodeId {
        let mut node = ROOT;
        for name in path {
            let Some(child) = self.numbers.get(name).and_then(|name| self.edges.get(&(node, *name))) else { break };
            node = *child;
        }
        node
    }

    /// Whether `id` is `above` or one of those that come by it.
    pub(super) fn is_within(&self, id: NodeId, above: NodeId) -> bool {
        let (mut id, depth) = (id, self.depth(above));
        while self.depth(id) > depth {
            id = self.parent(id);
        }
        id == above
    }

    /// Nodes whose names match, and the sum of all stacks through any of them.
    pub(super) fn matches(&self, is_match: impl Fn(&str) -> bool) -> (HashSet<NodeId>, u64) {
        let by_name: Vec<bool> = self.names.iter().map(|name| is_match(name)).collect();
        let (mut found, mut sum) = (HashSet::new(), 0);
        let mut covered = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().skip(1).filter(|(_, node)| node.value > 0) {
            let (is_match, above) = (by_name[node.name as usize], covered[node.parent as usize]);
            covered[index] = is_match || above;
            if is_match {
                found.insert(index as NodeId);
                // What is below a match has been counted with it.
                sum += if above { 0 } else { node.value };
            }
        }
        (found, sum)
    }

    /// The sites with the most, of those that come by `within`, with how much.
    pub(super) fn largest(&self, within: NodeId, most: usize) -> Vec<(SiteId, u64)> {
        // In one pass, since parents come first.
        let mut is_within = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            is_within[index] = index == within as usize || is_within[node.parent as usize];
        }
        let leaves = self.leaves.iter().filter(|(_, leaf)| leaf.value > 0 && is_within[leaf.node as usize]);
        let mut sites: Vec<(u64, SiteId)> = leaves.map(|(id, leaf)| (leaf.value, *id)).collect();
        let order = |(value, id): &(u64, SiteId)| (std::cmp::Reverse(*value), *id);
        if sites.len() > most {
            sites.select_nth_unstable_by_key(most, order);
            sites.truncate(most);
        }
        sites.sort_unstable_by_key(order);
        sites.into_iter().map(|(value, id)| (id, value)).collect()
    }
}
