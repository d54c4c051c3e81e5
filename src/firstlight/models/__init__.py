"""Networks: float32 N×C×H×W in, logits N×K out."""
