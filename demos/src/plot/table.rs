//! Tables: the same for a page and for plain text.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, TableStyle, presets};

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
        self.build(presets::ASCII_MARKDOWN, |cell| cell.replace('|', "\\|")).to_string()
    }

    /// For a terminal of this many columns. A table that does not fit has no lines between its cells, and if it does not fit
    /// then, cells are broken, but not those of the first column.
    pub fn terminal(&self, width: usize) -> String {
        if self.fits(width) { self.boxed().to_string() } else { self.plain(width) }
    }

    /// Whether it has lines between its cells in a terminal of this many columns.
    pub fn fits(&self, width: usize) -> bool {
        self.boxed().lines().all(|line| line.chars().count() <= width)
    }

    fn boxed(&self) -> comfy_table::Table {
        self.build(presets::UTF8_FULL_CONDENSED, str::to_owned)
    }

    /// Without lines, for a terminal of this many columns. Two spaces keep the columns apart, or one if two do not fit.
    pub fn plain(&self, width: usize) -> String {
        let wide = self.spaced(2, usize::from(u16::MAX));
        let fits = wide.lines().all(|line| line.chars().count() <= width);
        if fits { wide } else { self.spaced(1, width) }
    }

    fn spaced(&self, gap: u16, width: usize) -> String {
        let mut table = self.build(presets::NOTHING, str::to_owned);
        for column in table.column_iter_mut() {
            column.set_padding((0, gap));
        }
        if let Some(names) = table.column_mut(0) {
            names.set_constraint(ColumnConstraint::ContentWidth);
        }
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // The last column has a gap behind it, too.
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX).saturating_add(gap));
        let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    fn build(&self, style: TableStyle, cell: impl Fn(&str) -> String) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(style);
        table.set_header(self.header.iter().map(|title| cell(title)));
        for row in &self.rows {
            table.add_row(row.cells.iter().map(|text| cell(text)));
        }
        for column in table.column_iter_mut().skip(self.words) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
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

    #[test]
    fn a_table_fits_the_terminal() {
        let mut table = Table::new(1, ["server", "what it costs for each"]);
        table.row(None, ["one with a long name", "1,000"]);
        assert!(table.terminal(60).starts_with('┌'));
        assert_eq!(
            table.terminal(44),
            "server                what it costs for each\none with a long name                   1,000"
        );
        for width in [30, 35, 40] {
            let shown = table.terminal(width);
            assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}: {shown}");
            assert!(shown.contains("1,000"), "{width}: {shown}");
        }
    }
}
