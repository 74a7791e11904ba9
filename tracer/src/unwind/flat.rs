//! Tables of many files, joined into the flat arrays that the kernel side searches.

use tracer_common::unwind::{Mapping, PAGE_SHIFT, Row, Rule};

use super::{UnwindTable, find_row};

/// Where a table lies in the flat arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablePlace {
    /// Its first row in the array of rows.
    pub first_row: u32,
    /// The beginning of its index in the array of pages.
    pub first_page: u32,
    /// Its pages; its index has one entry more.
    pub page_count: u32,
}

/// The arrays. Tables are only ever added, so that places stay valid.
#[derive(Clone, Debug, Default)]
pub struct FlatTables {
    /// The rows of all tables.
    pub rows: Vec<Row>,
    /// The page indexes of all tables. Entries count from the table's own first row.
    pub pages: Vec<u32>,
}

impl FlatTables {
    /// Adds a table. `None` when the arrays have no room for it within `max_rows` and `max_pages`.
    pub fn add(&mut self, table: &UnwindTable, max_rows: u32, max_pages: u32) -> Option<TablePlace> {
        let room = |used: usize, more: usize, max: u32| used.checked_add(more).filter(|sum| *sum <= max as usize);
        room(self.rows.len(), table.rows().len(), max_rows)?;
        room(self.pages.len(), table.pages().len(), max_pages)?;
        let place = TablePlace {
            first_row: self.rows.len() as u32,
            first_page: self.pages.len() as u32,
            page_count: table.pages().len() as u32 - 1,
        };
        self.rows.extend_from_slice(table.rows());
        self.pages.extend_from_slice(table.pages());
        Some(place)
    }

    /// The rule for an address in a mapping, [`Rule::NONE`] where there is none: the lookup that the kernel side does.
    pub fn rule_at(&self, mapping: &Mapping, address: u64) -> Rule {
        let find = || {
            let relative = u32::try_from(address.wrapping_sub(mapping.bias)).ok()?;
            let page = relative >> PAGE_SHIFT;
            if page >= mapping.page_count {
                return None;
            }
            let index = (mapping.first_page + page) as usize;
            let (low, high) = (*self.pages.get(index)?, *self.pages.get(index + 1)?);
            find_row(&self.rows, mapping.first_row + low, mapping.first_row + high, relative)
        };
        find().map_or(Rule::NONE, |row| row.rule)
    }
}

impl TablePlace {
    /// A mapping from `start` to `end` that uses this table, with the bias of [`UnwindTable::bias_for`].
    pub fn mapping(self, start: u64, end: u64, bias: u64) -> Mapping {
        let Self { first_row, first_page, page_count } = self;
        Mapping { start, end, bias, first_row, first_page, page_count, reserved: 0 }
    }
}
