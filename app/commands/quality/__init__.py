"""The quality benchmarks Q1–Q7: public data, fixed protocols, the default pipeline with no flags per data set."""
