//! A field of braille dots: two columns and four rows of dots in every character.
//!
//! Owns dots and lines. What they mean is `chart`'s.

/// Dots in a character, across and down.
pub(crate) const DOTS_ACROSS: usize = 2;
/// See [`DOTS_ACROSS`].
pub(crate) const DOTS_DOWN: usize = 4;
/// The bit of each dot, by row and column (Unicode, Braille Patterns).
const DOT_BITS: [[u8; DOTS_ACROSS]; DOTS_DOWN] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// Characters by row and column; each has dots and the series that drew there last.
#[derive(Debug)]
pub(crate) struct Canvas {
    columns: usize,
    cells: Vec<Cell>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    dots: u8,
    owner: usize,
}

impl Canvas {
    /// An empty canvas of `columns` by `rows` characters.
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, cells: vec![Cell::default(); columns * rows] }
    }

    /// Sets the dot `across` from the left and `down` from the top; outside the canvas nothing happens.
    pub(crate) fn dot(&mut self, (across, down): (usize, usize), owner: usize) {
        let (column, row) = (across / DOTS_ACROSS, down / DOTS_DOWN);
        if column >= self.columns {
            return;
        }
        if let Some(cell) = self.cells.get_mut(row * self.columns + column) {
            cell.dots |= DOT_BITS[down % DOTS_DOWN][across % DOTS_ACROSS];
            cell.owner = owner;
        }
    }

    /// Draws a line between two dots, both included: as many dots as the longer side, rounded onto the grid.
    pub(crate) fn line(&mut self, from: (usize, usize), to: (usize, usize), owner: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |a: usize, b: usize, step: usize| (a * (steps - step) + b * step + steps / 2) / steps;
        for step in 0..=steps {
            self.dot((between(from.0, to.0, step), between(from.1, to.1, step)), owner);
        }
    }

    /// The characters of row `row`, each with its series; a blank has none.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (char, Option<usize>)> + '_ {
        self.cells[row * self.columns..(row + 1) * self.columns].iter().map(|cell| match cell.dots {
            0 => (' ', None),
            dots => (char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '), Some(cell.owner)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(canvas: &Canvas, rows: usize) -> Vec<String> {
        (0..rows).map(|row| canvas.row(row).map(|(c, _)| c).collect()).collect()
    }

    #[test]
    fn dots_and_lines() {
        let mut canvas = Canvas::new(3, 1);
        canvas.dot((0, 0), 0);
        canvas.dot((5, 3), 1);
        canvas.dot((6, 0), 1);
        canvas.dot((0, 4), 1);
        assert_eq!(rows(&canvas, 1), ["⠁ ⢀"]);
        assert_eq!(canvas.row(0).map(|(_, owner)| owner).collect::<Vec<_>>(), [Some(0), None, Some(1)]);
        let mut canvas = Canvas::new(4, 2);
        canvas.line((0, 7), (7, 0), 0);
        assert_eq!(rows(&canvas, 2), ["  ⡠⠊", "⡠⠊  "]);
        let mut canvas = Canvas::new(2, 1);
        canvas.line((0, 2), (3, 2), 0);
        assert_eq!(rows(&canvas, 1), ["⠤⠤"]);
    }
}
