//! Result files to tables, comparisons and pages.
