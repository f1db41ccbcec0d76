"""When and where photographs were taken: clocks, places, deployments, joined for each photograph of a run."""
