"""What several mass profiles are made of: special functions, and quadrature over elliptical rings."""
