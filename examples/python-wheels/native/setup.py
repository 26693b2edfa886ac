from setuptools import Extension, setup

setup(
    name="textscore",
    version="1.0.0",
    ext_modules=[Extension("textscore", ["textscore.c"], extra_compile_args=["-O2"])],
)
