/* textscore.entropy(bytes) -> float: Shannon entropy in bits per byte. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>

static PyObject *entropy(PyObject *self, PyObject *argument) {
    Py_buffer text;
    Py_ssize_t counts[256] = {0};
    double bits = 0.0;
    (void)self;
    if (PyObject_GetBuffer(argument, &text, PyBUF_SIMPLE) < 0) return NULL;
    for (Py_ssize_t i = 0; i < text.len; i++) counts[((unsigned char *)text.buf)[i]]++;
    for (int byte = 0; byte < 256; byte++) {
        if (counts[byte] == 0) continue;
        double share = (double)counts[byte] / (double)text.len;
        bits -= share * log2(share);
    }
    PyBuffer_Release(&text);
    return PyFloat_FromDouble(bits);
}

static PyMethodDef methods[] = {
    {"entropy", entropy, METH_O, "Shannon entropy of a buffer in bits per byte."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "textscore", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_textscore(void) { return PyModule_Create(&module); }
