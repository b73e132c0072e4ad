"""The Siamese Ranker: a differentiable stand-in for a metric."""
