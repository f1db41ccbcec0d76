"""From samples to batches: their order (`epoch_order`), the loader (`sample_stream`) and crops (`augmentation`)."""
