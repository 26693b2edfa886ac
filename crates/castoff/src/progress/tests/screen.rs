//! A terminal small enough to check: it knows the sequences that frames are made of, and panics at others.

pub(super) struct Screen {
    columns: usize,
    rows: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    pub fn new(columns: usize, rows: usize) -> Screen {
        Screen { columns, rows, lines: vec![Vec::new()], row: 0, column: 0 }
    }

    pub fn feed(&mut self, text: &str) {
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\x1b' => {
                    assert_eq!(letters.next(), Some('['), "only control sequences");
                    let mut parameters = String::new();
                    let last = loop {
                        match letters.next().expect("a whole sequence") {
                            digit @ ('0'..='9' | ';' | '?') => parameters.push(digit),
                            last => break last,
                        }
                    };
                    self.control(&parameters, last);
                }
                '\r' => self.column = 0,
                '\n' => self.down(),
                letter => {
                    assert!(!letter.is_control(), "{letter:?}");
                    if self.column == self.columns {
                        self.column = 0;
                        self.down();
                    }
                    let line = &mut self.lines[self.row];
                    line.resize(line.len().max(self.column + 1), ' ');
                    line[self.column] = letter;
                    self.column += 1;
                }
            }
        }
    }

    fn control(&mut self, parameters: &str, last: char) {
        match (parameters, last) {
            ("?2026" | "?25", 'h' | 'l') | (_, 'm') => {}
            ("2", 'K') => self.lines[self.row].clear(),
            ("", 'J') => {
                let column = self.column;
                self.lines[self.row].truncate(column);
                self.lines.truncate(self.row + 1);
            }
            (count, 'A') => {
                let top = self.lines.len().saturating_sub(self.rows);
                let count: usize = count.parse().expect("a number of lines");
                assert!(self.row >= top + count, "above the top of the screen");
                self.row -= count;
            }
            other => panic!("unknown sequence {other:?}"),
        }
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    /// Makes the screen narrower; lines are broken again, as most terminals do.
    pub fn resize(&mut self, columns: usize) {
        let old = std::mem::take(&mut self.lines);
        self.columns = columns;
        for (number, line) in old.into_iter().enumerate() {
            if number == self.row {
                self.row = self.lines.len();
            }
            let pieces: Vec<Vec<char>> = line.chunks(columns).map(<[char]>::to_vec).collect();
            self.lines.extend(if pieces.is_empty() { vec![Vec::new()] } else { pieces });
        }
    }

    /// Returns what is on the screen, with what has scrolled away.
    pub fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>());
        let text: String = lines.map(|line| line.trim_end().to_owned() + "\n").collect();
        text.trim_end_matches('\n').to_owned() + "\n"
    }
}
