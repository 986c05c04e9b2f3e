"""Image data: the stored images, their sources, and augmentation."""
