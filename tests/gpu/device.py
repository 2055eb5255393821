"""The device that these tests try: CUDA, or another one to try the tests themselves."""

import os

import pytest
import torch

DEVICE = os.environ.get("PIPELINE_BENCH_GPU_TESTS_ON", "cuda")
there = DEVICE == "cpu" or torch.cuda.is_available()

on_the_device = [pytest.mark.gpu, pytest.mark.skipif(not there, reason="there is no CUDA device")]
cuda_alone = pytest.mark.skipif(DEVICE != "cuda", reason="only CUDA has it")
