//! The rules of this crate.

use castoff_plan::lint::rules;

#[test]
fn each_rule_has_a_page_of_its_name() {
    let rules: Vec<_> = rules().collect();
    for rule in &rules {
        assert!(rule.page.starts_with(&format!("# {}\n\n", rule.name)), "{}", rule.name);
        for heading in ["## Why", "## Instead of", "## Write", "## Skip"] {
            assert!(rule.page.contains(heading), "{}: {heading}", rule.name);
        }
    }
    assert!(rules.is_sorted_by_key(|rule| rule.name));
}
