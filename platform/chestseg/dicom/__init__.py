"""The one door to image files: radiographs and masks from DICOM, PNG and JPEG; radiographs to DICOM."""
