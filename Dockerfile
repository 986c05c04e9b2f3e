# On a CPU:            docker build -t decoct .
# On an NVIDIA GPU:    docker build -t decoct --build-arg COMPUTE=cu130 .
FROM python:3.13-slim

# Which build of torch: cpu is a tenth of the size of one for CUDA, such as cu130.
ARG COMPUTE=cpu
# What else is installed: timm for pre-trained networks, hf for data sets on the Hugging Face hub.
ARG EXTRAS=timm,torchvision,hf

# torch.compile needs a C++ compiler.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt ./
RUN pip install --constraint constraints.txt torch torchvision \
    --extra-index-url "https://download.pytorch.org/whl/$COMPUTE"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --constraint constraints.txt ".[$EXTRAS]"

# Runs, and what is downloaded for them, are kept in /work: mount a folder of yours there. Anybody may
# run this, so that the files that it writes are yours: docker run --user.
ENV HOME=/tmp USER=decoct PYTHONUNBUFFERED=1
ENV HF_HOME=/work/.cache/huggingface TORCH_HOME=/work/.cache/torch
WORKDIR /work
USER 1000
ENTRYPOINT ["decoct"]
CMD ["--help"]
