"""Detection: from a backbone to boxes, and from boxes to average precision."""
