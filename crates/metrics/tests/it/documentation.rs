//! The documentation of the metrics equals the table, word for word.

#[test]
fn the_page_is_in_step_with_the_table() {
    expect_test::expect_file!["../../../../docs/METRICS.md"].assert_eq(&tickwire_metrics::markdown());
}
