//! The page: one HTML file that holds all it shows.

use std::fmt::Display;

use super::{Kind, Plot, Table};

/// The style. Colours are named once for bright pages and once for dark ones.
const STYLE: &str = include_str!("style.css");

/// A page that grows from top to bottom. All text is escaped.
#[derive(Debug)]
pub struct Page {
    title: String,
    /// Identifiers and titles of the sections.
    sections: Vec<String>,
    lead: String,
    body: String,
}

impl Page {
    /// A page with a title.
    pub fn new(title: &str) -> Page {
        Page { title: title.to_owned(), sections: Vec::new(), lead: String::new(), body: String::new() }
    }

    /// Starts a section. It is listed at the top of the page.
    pub fn section(&mut self, title: &str) {
        self.sections.push(title.to_owned());
        self.add(format_args!("<h2 id=\"section-{}\">{}</h2>\n", self.sections.len(), escaped(title)));
    }

    /// A heading within a section.
    pub fn heading(&mut self, title: &str) {
        self.add(format_args!("<h3>{}</h3>\n", escaped(title)));
    }

    /// A paragraph. What comes before the first section stands above the list of sections.
    pub fn text(&mut self, text: &str) {
        self.add(format_args!("<p>{}</p>\n", prose(text)));
    }

    /// A list, if there is something to list.
    pub fn list(&mut self, items: impl IntoIterator<Item = impl AsRef<str>>) {
        let items: String = items.into_iter().map(|item| format!("<li>{}</li>\n", prose(item.as_ref()))).collect();
        if !items.is_empty() {
            self.add(format_args!("<ul>\n{items}</ul>\n"));
        }
    }

    /// What the colours of bars mean.
    pub fn kinds(&mut self) {
        let kinds = Kind::ALL.map(|kind| ('■', colour(kind.colours()[0]), kind.name().to_owned()));
        self.add(format_args!("{}", legend(&kinds)));
    }

    /// Plots, side by side where the window is wide enough.
    pub fn plots(&mut self, plots: &[Plot]) {
        self.add(format_args!("<div class=\"plots\">\n"));
        for plot in plots {
            let (caption, title) = (escaped(&plot.caption), escaped(&plot.title));
            let entries: Vec<_> =
                plot.legend.iter().map(|(mark, rgb, name)| (*mark, colour(*rgb), name.clone())).collect();
            let drawing = match plot.svg.split_once("<svg ") {
                Some((_, rest)) => {
                    rest.replacen('>', &format!(" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>"), 1)
                }
                None => String::new(),
            };
            let drawing = match &drawing[..] {
                "" => "<p>No figures.</p>\n".to_owned(),
                drawing => format!("<svg {drawing}"),
            };
            let legend = if entries.is_empty() { String::new() } else { legend(&entries) };
            self.add(format_args!("<figure>\n<figcaption>{caption}</figcaption>\n{legend}{drawing}</figure>\n"));
        }
        self.add(format_args!("</div>\n"));
    }

    /// A table, in a box of its own that scrolls if it is too wide.
    pub fn table(&mut self, table: &Table) {
        if table.rows.is_empty() {
            return self.text("No figures.");
        }
        let line = |tag: &str, cells: &[String]| -> String {
            let cell = |(place, text): (usize, &String)| {
                let class = if place < table.words { "" } else { " class=\"number\"" };
                format!("<{tag}{class}>{}</{tag}>", escaped(text))
            };
            cells.iter().enumerate().map(cell).collect()
        };
        let row = |row: &super::Row| {
            let class = match row.kind {
                Some(Kind::Ours) => " class=\"ours\"",
                Some(Kind::Loop) => " class=\"loop\"",
                Some(Kind::Peer) | None => "",
            };
            format!("<tr{class}>{}</tr>\n", line("td", &row.cells))
        };
        let rows: String = table.rows.iter().map(row).collect();
        let header = line("th", &table.header);
        self.add(format_args!(
            "<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        ));
    }

    /// The whole page.
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let entry = |(place, title): (usize, &String)| {
            format!("<li><a href=\"#section-{}\">{}</a></li>\n", place + 1, escaped(title))
        };
        let contents: String = self.sections.iter().enumerate().map(entry).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
             {}<nav><ul>\n{contents}</ul></nav>\n{}</main>\n</body>\n</html>\n",
            self.lead, self.body
        )
    }

    fn add(&mut self, html: impl Display) {
        let part = if self.sections.is_empty() { &mut self.lead } else { &mut self.body };
        part.push_str(&html.to_string());
    }
}

fn legend(entries: &[(char, String, String)]) -> String {
    let entry = |(mark, colour, name): &(char, String, String)| {
        format!("<li><span style=\"color:{colour}\" aria-hidden=\"true\">{mark}</span> {}</li>", escaped(name))
    };
    format!("<ul class=\"legend\">{}</ul>\n", entries.iter().map(entry).collect::<String>())
}

fn colour(rgb: plotters::style::RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", rgb.0, rgb.1, rgb.2)
}

/// Text in which something may be quoted `like this`.
fn prose(text: &str) -> String {
    let text = escaped(text);
    let parts: Vec<_> = text.split('`').collect();
    if parts.len() % 2 == 0 {
        return text;
    }
    let part = |(place, part): (usize, &&str)| {
        if place % 2 == 0 { (*part).to_owned() } else { format!("<code>{part}</code>") }
    };
    parts.iter().enumerate().map(part).collect()
}

/// Text as it stands in HTML, attributes included.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Axis, Bar, Bars, Curve, Curves};

    /// A name that would be markup, were it not escaped.
    const ODD: &str = "<b>\"odd\" & even</b>";

    fn bar(value: f64) -> Bar {
        Bar { name: ODD.to_owned(), kind: Kind::Peer, value, spread: (value, value), text: ODD.to_owned() }
    }

    fn bars(axis: Axis, values: &[f64]) -> Plot {
        let bars = values.iter().copied().map(bar).collect();
        Bars { title: ODD.to_owned(), axis, reference: Some(1.0), bars }.plot().unwrap()
    }

    fn curves(points: &[(f64, f64)]) -> Plot {
        let curve = |kind| Curve { name: ODD.to_owned(), kind, points: points.to_vec() };
        let curves = Kind::ALL.map(curve).into();
        let (x, y) = (Axis::Nines(ODD.to_owned()), Axis::Log(ODD.to_owned()));
        Curves { caption: ODD.to_owned(), title: ODD.to_owned(), x, y, marks: true, curves }.plot().unwrap()
    }

    #[test]
    fn all_text_is_escaped() {
        let mut page = Page::new(ODD);
        page.text(ODD);
        page.section(ODD);
        page.heading(ODD);
        page.list([ODD]);
        page.plots(&[bars(Axis::Linear(ODD.to_owned()), &[1.0, 2.0]), curves(&[(0.0, 10.0), (0.9, 30.0)])]);
        let mut table = Table::new(1, [ODD]);
        table.row(Some(Kind::Ours), [ODD]);
        page.table(&table);
        let html = page.html();
        assert!(!html.contains("<b>") && !html.contains("\"odd\""), "{html}");
        assert_eq!(html.matches("<svg ").count(), 2);
        // The title of the page, the list of sections, its heading; each plot's caption, title and label ...
        assert!(html.matches("&lt;b&gt;").count() > 20, "{html}");
    }

    #[test]
    fn what_is_quoted_is_set_apart() {
        assert_eq!(prose("try `a <b>`, or `c`"), "try <code>a &lt;b&gt;</code>, or <code>c</code>");
        assert_eq!(prose("`a` and ` alone"), "`a` and ` alone");
    }

    #[test]
    fn nothing_measured_is_said_and_not_drawn() {
        let mut page = Page::new("empty");
        page.section("empty");
        page.plots(&[bars(Axis::Linear(String::new()), &[]), curves(&[])]);
        page.table(&Table::default());
        let html = page.html();
        assert_eq!(html.matches("No figures.").count(), 3, "{html}");
        assert!(!html.contains("<svg"), "{html}");
    }

    #[test]
    fn single_equal_and_impossible_values_are_drawn() {
        for axis in [Axis::Linear(String::new()), Axis::Log(String::new())] {
            for values in [&[0.0][..], &[5.0], &[5.0, 5.0], &[f64::NAN, 1.0], &[1e-9, 1e12]] {
                let svg = bars(axis.clone(), values).svg;
                assert_eq!(svg.matches("<rect ").count(), values.len(), "{svg}");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
        assert!(curves(&[(0.5, 7.0)]).svg.contains("<circle "));
    }

    #[test]
    fn curves_of_a_kind_differ_in_colour() {
        let curve = |_| Curve { name: "x".to_owned(), kind: Kind::Ours, points: vec![(0.0, 1.0)] };
        let curves = (0..3).map(curve).collect();
        let (x, y) = (Axis::Linear(String::new()), Axis::Linear(String::new()));
        let legend =
            Curves { caption: String::new(), title: String::new(), x, y, marks: false, curves }.plot().unwrap().legend;
        assert!(legend[0].1 != legend[1].1 && legend[1].1 != legend[2].1 && legend[0].1 != legend[2].1);
    }
}
