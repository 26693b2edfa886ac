//! What layers weigh, file by file, in tables of a size that is known before.

use castoff_inspect::sizes::{FileTable, Sizes};
use castoff_layer::View;

use crate::kit::Image;

/// Weighs some images as layers and shows each row as `indent name bytes [mark]`.
fn shown(layers: &[&View], most: usize, mark: &mut dyn FnMut(&[u8]) -> Option<u32>) -> Vec<String> {
    let mut sizes = Sizes::new();
    for layer in layers {
        layer.trees().for_each(|tree| sizes.layer(tree, mark).unwrap());
    }
    sizes.tables(most).iter().map(lines).collect()
}

fn lines(table: &FileTable) -> String {
    let mut text = String::new();
    for row in 0..table.name.len() {
        let indent = " ".repeat(usize::from(table.depth[row]));
        let rest = table.rests.iter().find(|(rest, _)| *rest as usize == row);
        let name = rest.map_or(table.name[row].clone(), |(_, files)| format!("+{files}"));
        let mark = table.mark[row].map(|mark| format!(" [{mark}]")).unwrap_or_default();
        text.push_str(&format!("{indent}{name} {}{mark}\n", table.bytes[row]));
    }
    text
}

fn layer() -> Image {
    Image::new(&[])
        .file("usr/lib/a.so", 0o644, vec![0; 500])
        .file("usr/lib/b.so", 0o644, vec![0; 40])
        .file("usr/lib-64/c.so", 0o644, vec![0; 300])
        .file("usr/lib.txt", 0o644, vec![0; 30])
        .file("usr/lib/deep/er/d", 0o644, vec![0; 20])
        .file("top", 0o644, vec![0; 10])
        .link("usr/link", "lib")
}

#[test]
fn directories_have_the_bytes_of_what_is_below_them() {
    let image = layer();
    let view = image.view();
    let mark = &mut |path: &[u8]| path.ends_with(b".so").then_some(7);
    assert_eq!(
        shown(&[&view], 100, mark),
        ["top 10\n\
          usr/ 890\n \
          lib-64/ 300\n  \
          c.so 300 [7]\n \
          lib.txt 30\n \
          lib/ 560\n  \
          a.so 500 [7]\n  \
          b.so 40 [7]\n  \
          deep/ 20\n   \
          er/ 20\n    \
          d 20\n \
          link 0\n"]
    );
}

#[test]
fn what_has_no_place_is_put_together_and_no_byte_is_missing() {
    let image = layer();
    let view = image.view();
    assert_eq!(
        shown(&[&view], 5, &mut |_| None),
        ["usr/ 890\n lib-64/ 300\n  c.so 300\n lib/ 560\n  a.so 500\n  +2 60\n +2 30\n+1 10\n"]
    );
    // One file as large as its directory: the directory comes first.
    let expected = "usr/ 890\n lib-64/ 300\n  +1 300\n lib/ 560\n  a.so 500\n  +2 60\n +2 30\n+1 10\n";
    assert_eq!(shown(&[&view], 4, &mut |_| None), [expected]);
    assert_eq!(shown(&[&view], 0, &mut |_| None), ["+7 900\n"]);
}

#[test]
fn any_number_of_files_has_no_more_rows_than_allowed() {
    let mut image = Image::new(&[]);
    for number in 0..300 {
        image = image.file(&format!("d{}/f{number}", number % 7), 0o644, vec![0; number % 3]);
    }
    let second = layer();
    let (view, other) = (image.view(), second.view());
    let total = |table: &FileTable| -> u64 {
        let roots = table.depth.iter().zip(&table.bytes).filter(|(depth, _)| **depth == 0);
        roots.map(|(_, bytes)| bytes).sum()
    };
    for most in [0, 1, 2, 10, 50, 299, 300, 307, 1000] {
        let mut sizes = Sizes::new();
        for view in [&view, &other] {
            view.trees().for_each(|tree| sizes.layer(tree, &mut |_| None).unwrap());
        }
        let tables = sizes.tables(most);
        let named: usize = tables.iter().map(|table| table.name.len() - table.rests.len()).sum();
        assert_eq!(named, most.min(300 + 7 + 12), "{most}");
        assert_eq!(tables.iter().map(total).collect::<Vec<_>>(), [300, 900], "{most}");
        let files = |table: &FileTable| -> u64 {
            let files = table.name.iter().filter(|name| !name.is_empty() && !name.ends_with('/')).count();
            files as u64 + table.rests.iter().map(|(_, files)| files).sum::<u64>()
        };
        assert_eq!(tables.iter().map(files).collect::<Vec<_>>(), [300, 7], "{most}");
    }
}
