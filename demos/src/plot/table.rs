//! Tables: the same for a page and for plain text.

use comfy_table::{CellAlignment, TableStyle, presets};

use super::Kind;

/// A table with one line of titles.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The titles.
    pub header: Vec<String>,
    /// So many columns hold words and begin at the left; the others hold numbers and end at the right.
    pub words: usize,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// One line of a table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Whose figures these are, if anybody's.
    pub kind: Option<Kind>,
    /// One for each title.
    pub cells: Vec<String>,
}

impl Table {
    /// An empty table with these titles.
    pub fn new<const N: usize>(words: usize, header: [&str; N]) -> Table {
        Table { header: header.map(str::to_owned).into(), words, rows: Vec::new() }
    }

    /// Adds a line.
    pub fn row(&mut self, kind: Option<Kind>, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(Row { kind, cells: cells.into_iter().map(Into::into).collect() });
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        self.text(presets::ASCII_MARKDOWN, |cell| cell.replace('|', "\\|"))
    }

    /// For a terminal.
    pub fn terminal(&self) -> String {
        self.text(presets::UTF8_FULL_CONDENSED, str::to_owned)
    }

    fn text(&self, style: TableStyle, cell: impl Fn(&str) -> String) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(style);
        table.set_header(self.header.iter().map(|title| cell(title)));
        for row in &self.rows {
            table.add_row(row.cells.iter().map(|text| cell(text)));
        }
        for column in table.column_iter_mut().skip(self.words) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_keeps_the_columns_apart() {
        let mut table = Table::new(1, ["server", "CPU"]);
        table.row(None, ["a|b", "1,000"]);
        let lines: Vec<_> = table.markdown().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "| server |   CPU |");
        assert!(lines[1].starts_with("|---"), "{lines:?}");
        assert_eq!(lines[2], "| a\\|b   | 1,000 |");
    }
}
