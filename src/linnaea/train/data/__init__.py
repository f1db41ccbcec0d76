"""From samples to training batches: their order (`epoch_order`), the loader (`sample_stream`), crops (`augmentation`)."""
