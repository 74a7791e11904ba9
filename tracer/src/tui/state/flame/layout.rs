//! Which frames have room on the screen, and where: one row for each depth, as wide as their share.

use super::tree::{NodeId, ROOT, Tree};

/// A frame on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Cell {
    /// `None`: what is too small for a column each, and how many these are.
    pub(in crate::tui) node: Option<NodeId>,
    pub(in crate::tui) rest: usize,
    pub(in crate::tui) row: usize,
    pub(in crate::tui) left: u16,
    pub(in crate::tui) width: u16,
}

/// All rows that there are, below the root, of which only `rows` are laid out.
///
/// What leads to `zoom` is as wide as all; from there on a frame is as wide as its share of `zoom`. Siblings come by size, so
/// what has no column of its own is at the right.
pub(super) fn lay_out(tree: &Tree, zoom: NodeId, width: u16, rows: std::ops::Range<usize>) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut above = Vec::new();
    let mut node = zoom;
    while node != ROOT {
        node = tree.parent(node);
        above.push(node);
    }
    for (row, node) in above.iter().rev().enumerate().filter(|(row, _)| rows.contains(row)) {
        cells.push(Cell { node: Some(*node), rest: 0, row, left: 0, width });
    }
    let total = tree.value(zoom);
    if total == 0 || width == 0 {
        return cells;
    }
    let column = |value: u64| (value as f64 / total as f64 * f64::from(width)).round() as u16;
    // Where each begins, as a share; a rounded one would add up.
    let mut line = vec![(zoom, 0)];
    let mut row = above.len();
    while !line.is_empty() && row < rows.end {
        let mut next = Vec::new();
        for (node, begin) in line {
            let left = column(begin);
            let cell = Cell { node: Some(node), rest: 0, row, left, width: column(begin + tree.value(node)) - left };
            if rows.contains(&row) {
                cells.push(cell);
            }
            let (own, rest) =
                children(tree, node, begin, |value| u128::from(value) * u128::from(width) >= total.into());
            if let Some((begin, value, count)) = rest {
                let (left, end) = (column(begin), column(begin + value));
                if end > left && rows.contains(&(row + 1)) {
                    cells.push(Cell { node: None, rest: count, row: row + 1, left, width: end - left });
                }
            }
            next.extend(own);
        }
        line = next;
        row += 1;
    }
    cells.sort_by_key(|cell| (cell.row, cell.left));
    cells
}

type Rest = Option<(u64, u64, usize)>;

/// The children that are large enough, each with where it begins; and of the others where they begin, their sum and number.
fn children(tree: &Tree, node: NodeId, begin: u64, is_large: impl Fn(u64) -> bool) -> (Vec<(NodeId, u64)>, Rest) {
    let (mut large, mut sum, mut count) = (Vec::new(), 0, 0);
    for &child in tree.children(node) {
        match tree.value(child) {
            0 => {}
            value if is_large(value) => large.push((value, child)),
            value => (sum, count) = (sum + value, count + 1),
        }
    }
    large.sort_unstable_by(|(a, first), (b, second)| b.cmp(a).then_with(|| tree.name(*first).cmp(tree.name(*second))));
    let mut at = begin;
    let own = large.into_iter().map(|(value, child)| {
        at += value;
        (child, at - value)
    });
    let own = own.collect();
    (own, (count > 0).then_some((at, sum, count)))
}
