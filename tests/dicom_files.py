"""A DICOM series as a scanner exports it, and ways in which exports go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def dataset(sop_class: str = MRImageStorage) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.FrameOfReferenceUID = generate_uid(), generate_uid()
    one.Modality, one.PatientName, one.PatientID = "MR", "Doe^Jane", "1234"
    return one


def set_pixels(one: Dataset, plane: np.ndarray) -> None:
    """plane: [rows, columns] or [frames, rows, columns], uint16."""
    one.Rows, one.Columns = plane.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    one.PixelData = np.ascontiguousarray(plane, np.uint16).tobytes()


def plane_geometry(affine: np.ndarray, k: int) -> tuple[list[str], list[str], list[str]]:
    """Position, orientation and pixel spacing of slice k of a grid, in DICOM's 16 characters a number."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = (lps[:3, :2] / spacing[:2]).T.ravel()
    position = (lps @ [0, 0, k, 1])[:3]
    return *([f"{v:.12f}"[:16] for v in values] for values in (position, cosines)), [
        f"{spacing[1]:.9f}",
        f"{spacing[0]:.9f}",
    ]


def write_series(
    folder: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    description: str = "t1_mprage",
    number: int = 3,
    uid: str | None = None,
    **tags: object,
) -> list[Path]:
    """One file per slice of uint16 [X, Y, Z], named in an order that is not that in space; paths by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    n = data.shape[2]
    names = np.random.default_rng(0).permutation(n)
    paths = []
    for k in range(n):
        one = dataset()
        one.SeriesInstanceUID, one.SeriesNumber, one.SeriesDescription = uid, number, description
        one.InstanceNumber = k + 1
        one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing = plane_geometry(affine, k)
        set_pixels(one, data[:, :, k].T)
        for keyword, value in tags.items():
            setattr(one, keyword, value(k) if callable(value) else value)
        path = folder / f"IM{number:03d}_{names[k]:04d}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def change(path: Path, **tags: object) -> None:
    one = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(one, keyword, value)
    one.save_as(path)


def write_multiframe(
    path: Path, data: np.ndarray, affine: np.ndarray, order: np.ndarray, slope: float = 1.0
) -> Path:
    """An enhanced MR image with the slices in the given order and the slope in a functional group."""
    one = dataset(EnhancedMRImageStorage)
    one.SeriesInstanceUID, one.SeriesNumber, one.SeriesDescription = generate_uid(), 5, "T1 3D"
    one.InstanceNumber, one.NumberOfFrames = 1, len(order)
    shared, rescale = Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = slope, 0, "US"
    shared.PixelValueTransformationSequence = Sequence([rescale])
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        frame, position, orientation, measures = Dataset(), Dataset(), Dataset(), Dataset()
        geometry = plane_geometry(affine, int(k))
        position.ImagePositionPatient, orientation.ImageOrientationPatient, measures.PixelSpacing = geometry
        frame.PlanePositionSequence = Sequence([position])
        frame.PlaneOrientationSequence = Sequence([orientation])
        frame.PixelMeasuresSequence = Sequence([measures])
        frames.append(frame)
    one.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_pixels(one, data[:, :, order].transpose(2, 1, 0))
    one.save_as(path, enforce_file_format=True)
    return path
