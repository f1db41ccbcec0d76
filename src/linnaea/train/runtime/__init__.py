"""What every training run needs: overrides, logs, a graceful stop."""
