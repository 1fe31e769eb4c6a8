"""All that knows of hardware: the forms of the matrix products, blocks of examples, devices and meshes."""
