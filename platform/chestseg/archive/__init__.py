"""From a DICOMweb server and back to it: studies to segment, and the segmentations of what was found in them."""
